"""Template tags of moderation."""

from typing import Any

from django import template

from accounts.models import User
from chat.models import Conversation
from chat.moderation import figures, grants, start
from chat.moderation.duties import ACT_ON_CONTENT, VIEW_QUEUE, may_act_on, may_decide_about
from chat.moderation.hidden_contents import HiddenContent, contents_of
from chat.moderation.models import GRANT_MINUTES, AccessGrant
from chat.moderation.queue_page import undecided_shown

register = template.Library()


@register.inclusion_tag("admin/moderation/_grant_bar.html", takes_context=True)
def grant_bar(context: Any, conversation: Conversation | None, grant: AccessGrant | None = None) -> Any:
    """Show by which grant the page is read and until when, with the buttons that extend and end it."""
    request = context["request"]
    if conversation is not None and grant is None:
        grant = grants.grant_of(request.user, conversation)
    return {
        "grant": grant,
        "conversation": conversation,
        "minutes": GRANT_MINUTES,
        "csrf_token": context.get("csrf_token"),
        "query": request.GET.urlencode(),
    }


@register.inclusion_tag("admin/moderation/_start.html", takes_context=True)
def start_page(context: Any) -> Any:
    """Show what waits for the signed-in staff, and what runs."""
    return start.start_of(context["request"])


register.filter("shown_time", figures.shown_time)


@register.simple_tag
def hidden_contents(entries: Any) -> dict[Any, HiddenContent]:
    """Return what the hidden messages of a transcript said, by their ids."""
    return contents_of([entry.message for entry in entries])


@register.inclusion_tag("admin/moderation/_hidden_content.html")
def hidden_content(hidden: Any, message: Any) -> Any:
    """Show what a hidden message said, folded, with the reason and the decision."""
    return {"content": (hidden or {}).get(message.pk), "message": message}


@register.simple_tag
def may_decide_content(user: User, conversation: Conversation) -> bool:
    """Return whether this member of the staff may hide messages of a conversation, and lock it."""
    return may_decide_about(user, conversation.owner, ACT_ON_CONTENT)


@register.simple_tag
def may_decide_account(user: User, member: User) -> bool:
    """Return whether this member of the staff may warn and suspend a member."""
    return may_act_on(user, member)


@register.simple_tag
def review_badge(user: User) -> str | None:
    """Return the number of undecided items for staff of the queue, perhaps empty; None for others."""
    return undecided_shown(user) if user.is_staff and user.has_perm(VIEW_QUEUE) else None
