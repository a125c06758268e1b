"""The bundle that answers, and its successor: swapped in between tiles once it has proved itself on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lsd.runtime.bundle import Bundle, open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.errors import LsdError
from lsd.runtime.manifest import MANIFEST_NAME
from lsd.runtime.parity import check_golden, require
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.stream.events import BundleChanged, BundleRefused, Listener


class Serving:
    """A chain that passed its self-test, with what products say about it; for one thread.

    chain_of: makes a chain of an opened bundle. context_of: what products say. The self-test is that of
    `lsd.runtime.parity`: the golden patches, on this machine, with the backends in use.
    """

    def __init__(
        self, path: Path, chain_of: Callable[[Bundle], Chain], context_of: Callable[[Bundle, Chain], RunContext]
    ) -> None:
        """Open the bundle.

        Raises:
            BundleError, BackendError: it cannot be opened or used here. GateError: the self-test failed.
        """
        self.path = path
        self._chain_of, self._context_of = chain_of, context_of
        self._stamp = self._stamped()
        self.chain, self.context = self._opened()
        self._refused = ""

    def refresh(self, tell: Listener) -> None:
        """Take the bundle that lies at the path now, if it is another one and passes; else keep the one in use.

        One that is refused is tried again before every tile: it may still be on its way. Each reason is told once.
        """
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        try:
            chain, context = self._opened()
        except LsdError as error:
            reason = " ".join(str(error).split())
            if reason != self._refused:
                tell(BundleRefused(reason))
            self._refused = reason
            return
        self._stamp, self._refused = stamp, ""
        if context.bundle_sha256 != self.context.bundle_sha256:
            tell(BundleChanged(context.bundle_name, context.bundle_sha256))
        self.chain, self.context = chain, context

    def _opened(self) -> tuple[Chain, RunContext]:
        bundle = open_bundle(self.path)
        chain = self._chain_of(bundle)
        require(check_golden(bundle, chain), f"self-test of {self.path}")
        return chain, self._context_of(bundle, chain)

    def _stamped(self) -> tuple[int, ...]:
        """What changes when another manifest, or another zip, lies at the path; () where nothing can be seen."""
        for file in (self.path / MANIFEST_NAME, self.path):
            try:
                status = file.stat()
            except OSError:
                continue
            return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        return ()
