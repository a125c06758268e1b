"""Scenarios on a clock moved by hand, around backends whose latencies are known exactly."""

from __future__ import annotations

from itertools import chain, cycle, repeat

import numpy as np
import pytest
from bench_results import HandClock, TimedBackend, exponential

from lsd.benchmarks.bench.figures import latency_figures, server_figures, throughput_figures
from lsd.benchmarks.bench.percentiles import is_measured
from lsd.benchmarks.bench.scenarios import LEAST_BATCHES, LEAST_QUERIES, offline, server, single_stream
from lsd.benchmarks.bench.windows import Rule, Window, Windows
from lsd.runtime.errors import ConfigurationError

RULE = Rule(window_s=2.0, agree=5, most=15, tolerance=0.05, warm_up_s=1.0)
ANY = 1e9  # tolerance with which all windows agree


def counted_by(backend, windows):
    """Times that the backend took for the queries of the counted windows, the last ones."""
    return np.array(backend.took[-len(windows.latencies_s) :])


def test_a_latency_is_the_time_of_its_query():
    clock = HandClock()
    backend = TimedBackend(clock, cycle([0.01, 0.02, 0.03]))
    found = single_stream(backend, clock, RULE)
    assert found.stable and len(found.every) == 5
    np.testing.assert_allclose(found.latencies_s, counted_by(backend, found), rtol=1e-9)
    assert set(backend.asked) == {1}
    assert all(one.end_s - one.begin_s >= RULE.window_s for one in found.every)
    before = len(backend.took) - len(found.latencies_s)
    assert sum(backend.took[:before]) >= RULE.warm_up_s  # warm-up is not counted


def test_the_clock_is_asked_once_a_query():
    clock = HandClock()
    backend = TimedBackend(clock, repeat(0.001))
    windows = single_stream(backend, clock, RULE)
    assert clock.asked == len(backend.asked) + len(windows.every) + 1  # one more for each window, and the warm-up


def test_percentiles_are_those_of_a_known_distribution():
    clock, mean_s = HandClock(), 0.001
    backend = TimedBackend(clock, exponential(mean_s, seed=3))
    windows = single_stream(backend, clock, Rule(window_s=4.0, agree=5, most=5, tolerance=ANY))
    found = latency_figures(windows, 1)["percentiles"]
    samples = counted_by(backend, windows)
    assert len(samples) > 15_000
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
        exact = -mean_s * np.log(1 - share)
        assert found[name]["s"] == pytest.approx(np.quantile(samples, share, method="inverted_cdf"), rel=1e-6)
        assert found[name]["low_s"] < exact < found[name]["high_s"]
        assert found[name]["s"] == pytest.approx(exact, rel=0.15)
    assert found["p50"]["s"] == pytest.approx(mean_s * np.log(2), rel=0.02)


def test_multi_stream_asks_for_several_at_once():
    clock = HandClock()
    backend = TimedBackend(clock, repeat(0.05))
    windows = single_stream(backend, clock, RULE, patches=8)
    assert set(backend.asked) == {8}
    found = latency_figures(windows, 8)
    assert found["percentiles"]["p50"]["s"] == pytest.approx(0.05)
    assert windows.counted[0].seconds_per_patch == pytest.approx(0.05 / 8)


def test_offline_tells_patches_a_second():
    clock = HandClock()
    found = throughput_figures(offline(TimedBackend(clock, repeat(0.32)), clock, RULE, 128), 128)
    assert found["patches_per_s"] == pytest.approx(400)
    assert found["seconds_per_patch"] == pytest.approx(1 / 400)


def test_slow_backends_still_fill_a_window():
    clock = HandClock()
    windows = single_stream(TimedBackend(clock, repeat(1.0)), clock, RULE)
    assert all(len(one.latencies_s) == LEAST_QUERIES for one in windows.every)
    windows = offline(TimedBackend(clock, repeat(10.0)), clock, RULE, 128)
    assert all(len(one.latencies_s) == LEAST_BATCHES for one in windows.every)


def test_windows_before_the_machine_is_steady_do_not_count():
    clock = HandClock()
    slow = repeat(0.02, 400)  # as while clocks rise: longer than the warm-up
    windows = single_stream(TimedBackend(clock, chain(slow, repeat(0.01))), clock, RULE)
    assert windows.stable and len(windows.every) > len(windows.counted) == RULE.agree
    assert (windows.latencies_s > 0.015).mean() < 0.1  # but for the window in which they had risen
    assert latency_figures(windows, 1)["median_s"] == pytest.approx(0.01)
    assert windows.spread == pytest.approx(0, abs=1e-9)


def test_windows_that_do_not_agree_are_said_not_to():
    clock = HandClock()
    drifting = (0.01 * 1.0005**number for number in range(100_000))
    windows = single_stream(TimedBackend(clock, drifting), clock, RULE)
    assert not windows.stable and len(windows.every) == RULE.most and windows.counted == windows.every
    assert windows.spread > RULE.tolerance
    assert latency_figures(windows, 1)["stable"] is False


def test_server_latency_holds_the_queue():
    """Against Lindley's recursion, and the mean of a queue with fixed service time (Pollaczek and Khinchine)."""
    clock, service_s, rate = HandClock(), 0.01, 60.0
    backend = TimedBackend(clock, repeat(service_s))
    windows = server(backend, clock, Rule(window_s=200.0, agree=5, most=5, tolerance=ANY), rate, seed=5)
    found = windows.latencies_s
    assert windows.stable and len(found) == 5 * 200 * rate

    rng, waits, wait_s = np.random.default_rng(5), [], 0.0
    gaps = np.concatenate([rng.exponential(1 / rate, int(200 * rate)) for _ in range(5)])
    for gap in gaps:
        wait_s = max(0.0, wait_s + service_s - gap) if waits else 0.0
        waits.append(wait_s)
    np.testing.assert_allclose(found, np.array(waits) + service_s, atol=1e-6)

    load = rate * service_s
    assert found.mean() == pytest.approx(service_s + load * service_s / (2 * (1 - load)), rel=0.03)


def test_a_stall_makes_those_late_who_arrive_meanwhile():
    clock = HandClock()
    times = chain(repeat(0.001, 500), [1.0], repeat(0.001))
    rule = Rule(window_s=10.0, agree=2, most=2, tolerance=ANY, warm_up_s=0)
    found = server(TimedBackend(clock, times), clock, rule, 100.0, seed=0)
    late = (found.latencies_s > 0.1).sum()
    assert late > 80  # a closed loop would count one


def test_arrivals_are_the_same_for_the_same_seed_and_as_often_as_asked():
    def arrivals(seed):
        clock = HandClock()
        rule = Rule(window_s=100.0, agree=2, most=2, tolerance=ANY)
        return server(TimedBackend(clock, repeat(0.002)), clock, rule, 100.0, seed)

    first, again, other = arrivals(1), arrivals(1), arrivals(2)
    np.testing.assert_array_equal(first.latencies_s, again.latencies_s)
    assert not np.array_equal(first.latencies_s, other.latencies_s)
    rates = [len(one.latencies_s) / (one.end_s - one.begin_s) for one in first.every]
    assert rates == pytest.approx([100, 100], rel=0.05)


def test_an_overloaded_server_is_given_up_and_said_to_be():
    clock = HandClock()
    backend = TimedBackend(clock, repeat(0.02))
    windows = server(backend, clock, RULE, 1000.0, seed=0)
    assert windows.overloaded and not windows.stable
    found = server_figures(windows, 1000.0, 100.0)
    assert found["overloaded"] is True and found["met"] is False
    assert len(backend.asked) < 1000  # not the tens of thousands that the windows would hold


@pytest.mark.parametrize(("late", "met"), [(0, None), (9, None), (10, False), (300, False)])
def test_a_deadline_is_missed_where_too_many_are_late_for_any_percentile(late, met):
    """300 answers are too few for p99; ten of them beyond the deadline are what p99 asks for."""
    latencies = np.full(300, 0.01)
    latencies[:late] = 0.2
    window = Window(0.0, 30.0, latencies, 300)
    found = server_figures(Windows((window,), (window,), True, 0.0), 10.0, 100.0)
    assert not is_measured(found["percentiles"]["p99"]) and found["late_share"] == late / 300
    assert found["met"] is met if met is False else not is_measured(found["met"])


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ConfigurationError, match="rate of arrivals must be above 0"):
        server(lambda _: None, HandClock(), RULE, rate, 0)


@pytest.mark.parametrize("wrong", [{"window_s": 0}, {"agree": 1}, {"most": 4}, {"tolerance": 0}, {"warm_up_s": -1}])
def test_a_rule_that_cannot_be_met_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="stability rule"):
        Rule(**wrong)
