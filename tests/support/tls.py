"""Certificates of an authority that only the tests know."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import trustme


class Authority:
    """An authority, and servers' TLS contexts that it vouches for."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def write_to(self, folder: Path) -> Path:
        """Its certificate, as a PEM file to trust."""
        path = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(path))
        return path

    def server(self, name: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
        until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
        certificate = self._authority.issue_cert(name, not_after=until)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context
