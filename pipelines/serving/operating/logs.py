"""Log lines as JSON, one object a line, with W3C trace ids where a request is behind them."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

TRACE = "trace_id"
_MORE = (TRACE, "span_id", "route", "status", "duration_ms", "rows", "model_version", "prediction_id")


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; what ``extra`` has of a request's fields is included."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _redacted(record.getMessage()),
            **{name: getattr(record, name) for name in _MORE if hasattr(record, name)},
        }
        if record.exc_info:
            line["exception"] = _redacted(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A record as a line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback's."""
        return _redacted(super().format(record))


def _redacted(text: str) -> str:
    """Without what a request may have brought: an exception names the value that it failed on."""
    from pipelines.privacy.redacting import redacted

    return redacted(text)


def configure(form: str) -> None:
    """Log to standard error.

    Args:
        form: ``json``, or ``text`` for people.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if form == "json" else TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("groundplan").setLevel(logging.INFO)
