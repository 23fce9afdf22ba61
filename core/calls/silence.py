"""A line that somebody has picked up and nobody of ours talks on: a stream that never began, or broke without a word.

Whether a carrier goes on with the document after an abnormal close is its secret; where it does not, the contact would listen to
nothing until they hang up. So the call is told by REST to fetch its next document, and ended when that does not help either.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from core.storage.conversations import spool_replayed_at
from core.storage.database import Session
from core.storage.tables import Attempt, Conversation

# A new stream takes well under a second; a carrier that asks by itself does so at once.
BEARABLE = timedelta(seconds=6)
MOST_REDIRECTS = 2


def silent_since(session: Session, attempt: Attempt, conversation: Conversation | None) -> datetime | None:
    """Since when nobody of ours has been on an answered line, as far as can be told; None while somebody is, or need not be.

    In standard mode the carrier itself is on the line.
    """
    if attempt.mode != "enhanced" or attempt.voice_served_at is None or attempt.ended_at is not None:
        return None
    if conversation is not None and conversation.ended_at is not None:
        return None
    if attempt.stream_epoch == 0:
        since: datetime | None = attempt.voice_served_at
    elif attempt.epoch_saved == attempt.stream_epoch:
        since = attempt.stream_ended_at
    else:
        # A media server that has started anew since then is not the one that was in this call.
        replayed = spool_replayed_at(session, attempt.spool)
        since = replayed if replayed is not None and attempt.stream_began_at is not None and replayed > attempt.stream_began_at else None
    if since is None:
        return None
    return max(since, attempt.document_at or since, attempt.redirected_at or since)
