"""Only read a source, through one of the lanes: what a plan's reading costs at least."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from segsync.model import Segment
from segsync.source import open_source
