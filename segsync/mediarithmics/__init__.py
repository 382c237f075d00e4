"""The platform over HTTP. How it reads, from what is meant to what travels:

client (each request's meaning) → resources, envelope, paging, retry, download (the answers, and how
often one asks) → wire (requests, the one HTTP library) → exchange, deadline, origin (one exchange
as values, its time, and where the token may go).
"""

from segsync.mediarithmics.client import Mediarithmics

__all__ = ["Mediarithmics"]
