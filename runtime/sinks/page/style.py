"""The style sheet of the run page: light, dark, print, phone. Class colours are those of the other products."""

from __future__ import annotations

from lsd.runtime.sinks.qgis_style import BLUE, VERMILLION, YELLOW, Colour


def _css(colour: Colour) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)


_LIGHT = (
    "--ground:#ffffff;--panel:#f4f5f7;--ink:#15181c;--soft:#565d66;--line:#d3d7dc;--paper:#eef1f4;--seen:#ffffff;"
    "--grid:#c3c9d0;--hatch:#8a929b;--edge:#15181c;--halo:#ffffff;--stop:#b3261e;--stop-bg:#fdecea;--warn:#8a5a00;"
    "--warn-bg:#fff6e0;--note:#2c5d8f;--note-bg:#edf4fb;--link:#0b57a4;color-scheme:light"
)
_DARK = (
    "--ground:#14171b;--panel:#1e2227;--ink:#e8eaed;--soft:#a7aeb7;--line:#363c44;--paper:#1b1f24;--seen:#2b3138;"
    "--grid:#434a53;--hatch:#7d8690;--edge:#e8eaed;--halo:#14171b;--stop:#ff8a80;--stop-bg:#3a1c1b;--warn:#f2c14e;"
    "--warn-bg:#33290f;--note:#8fc1f2;--note-bg:#182838;--link:#8fc1f2;color-scheme:dark"
)
_FONT = "--font:system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
_COLOURS = f"--likely:{_css(VERMILLION)};--possible:{_css(YELLOW)};--look:{_css(BLUE)}"

STYLE = (
    f":root{{{_LIGHT};{_COLOURS};{_FONT}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK};--look:#56b4e9}}}}\n"
    f"@media print{{:root{{{_LIGHT};{_COLOURS}}}}}\n"
    """*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 var(--font)}
main{max-width:1160px;margin:0 auto;padding:24px 20px 48px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 6px}
h2{font-size:1.15rem;margin:36px 0 10px;padding-bottom:5px;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:16px 0 6px}
p{margin:0 0 8px}
a{color:var(--link)}
bdi,td,dd,summary,li{overflow-wrap:anywhere}
.outcome{font-size:1.1rem;max-width:75ch}
.soft,figcaption{color:var(--soft);font-size:.88rem}
.warnings{list-style:none;margin:0;padding:0;display:grid;gap:8px}
.warnings>li{border-left:5px solid;border-radius:4px;padding:8px 14px;font-size:.95rem}
.warnings b{display:block;color:inherit}
.warnings ul{margin:4px 0 0;padding-left:20px;color:var(--ink)}
.warnings span{color:var(--ink)}
.stop{color:var(--stop);background:var(--stop-bg)}
.warn{color:var(--warn);background:var(--warn-bg)}
.note{color:var(--note);background:var(--note-bg)}
.live{border-left:5px solid;border-radius:4px;padding:10px 14px;margin:14px 0 0}
.live dl{color:var(--ink);margin:6px 0}
.live p{margin:0}
.maps{display:grid;gap:18px;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.maps>:only-child{max-width:960px}
.scroll{overflow-x:auto}
svg.map{display:block;width:100%;overflow:visible;height:auto;font:12px var(--font)}
.paper{fill:var(--paper)}
.frame{fill:none;stroke:var(--soft)}
.graticule{fill:none;stroke:var(--grid);stroke-width:.6}
svg text{fill:var(--soft)}
.longitude,svg .distance{text-anchor:middle}
.latitude{text-anchor:end}
svg .distance,svg .number{fill:var(--ink);paint-order:stroke;stroke:var(--halo);stroke-width:3px}
svg .number{font-weight:700;font-size:13px}
.bar{fill:none;stroke:var(--ink);stroke-width:1.4}
.arrow{fill:var(--ink)}
.hatch{stroke:var(--hatch);stroke-width:1.6}
.seen{fill:var(--seen);fill-opacity:.75}
.outline{fill:none;stroke:var(--edge);stroke-width:1.2}
.unread{stroke-dasharray:4 3}
.look{fill:var(--look);fill-opacity:.25;stroke:var(--look);stroke-width:.9;stroke-dasharray:2 1.2}
.possible{fill:var(--possible);stroke:#000;stroke-width:.5}
.likely{fill:var(--likely);stroke:var(--likely);stroke-width:1}
.legend{display:flex;flex-wrap:wrap;gap:6px 18px;max-width:960px;list-style:none;margin:10px 0 0;padding:0}
.legend{font-size:.88rem}
.legend svg{width:26px;height:18px;vertical-align:-4px;margin-right:6px}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:6px 10px 6px 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
td div+div{margin-top:2px}
@media screen and (min-width:761px){
.tiles td:nth-child(2){min-width:9.5em}
.tiles td:nth-child(10){min-width:13em}
.tiles td:nth-child(8) div,.tiles td:nth-child(9) div{white-space:nowrap}
}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(280px,1fr));gap:18px}
.few{grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));max-width:960px}
figure{margin:0}
figure img{display:block;width:100%;height:auto;border:1px solid var(--line);border-radius:4px;background:var(--panel)}
figcaption{margin-top:4px}
details{border:1px solid var(--line);border-radius:6px;margin:0 0 10px;background:var(--panel);padding:0 14px}
details[open]{padding-bottom:12px}
summary{cursor:pointer;padding:10px 0;font-weight:600}
summary .soft{font-weight:400;margin-left:8px}
dl{display:grid;grid-template-columns:minmax(120px,auto) 1fr;gap:4px 16px;margin:0;font-size:.9rem}
dt{color:var(--soft)}
dd{margin:0}
@media (max-width:760px){
main{padding:16px 14px 32px}
h1{font-size:1.35rem}
svg.map{font-size:16px}
svg .number{font-size:18px}
.odd{display:none}
.cards thead{position:absolute;left:-9999px}
.cards tr{display:block;border-bottom:2px solid var(--line);padding:8px 0}
.cards td,.cards td.number{display:grid;grid-template-columns:8.5em 1fr;gap:8px;border:0;padding:2px 0;text-align:left}
.cards td::before{content:attr(data-label);color:var(--soft)}
dl{grid-template-columns:1fr}
dt{margin-top:6px}
}
@media print{
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{font-size:11px}
main{max-width:none;padding:0}
details::details-content{content-visibility:visible;height:auto}
figure,tr,.warnings>li{break-inside:avoid}
svg.map{max-height:22cm}
.scroll{overflow:visible}
}
"""
)
