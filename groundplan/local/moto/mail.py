"""The e-mails that SNS would have sent: kept, since nothing leaves this machine."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from functools import cache
from typing import Any

MOST_MAILS = 1000
_MAILS: deque[dict[str, str]] = deque(maxlen=MOST_MAILS)


@cache
def keep_mail() -> None:
    """Keep what moto's SNS is to send to e-mail addresses, in this process."""
    from moto.sns.models import Subscription

    publish = Subscription.publish

    def published(self: Any, message: str, message_id: str, subject: str | None = None, **more: Any) -> None:
        publish(self, message, message_id, subject=subject, **more)
        wanted = self._filter_policy_matcher
        if wanted is not None and not wanted.matches(more.get("message_attributes"), message):
            return
        if self.protocol.startswith("email"):
            if more.get("message_structure") == "json":
                message = self._parse_message_structure(message, self.protocol)
            _MAILS.append(
                {
                    "at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "to": self.endpoint,
                    "subject": subject or "AWS Notification Message",
                    "text": message,
                }
            )

    Subscription.publish = published


def mails() -> list[dict[str, str]]:
    """The newest mails, oldest first: ``at``, ``to``, ``subject``, ``text``."""
    return list(_MAILS)
