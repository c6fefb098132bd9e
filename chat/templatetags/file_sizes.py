"""Filter ``{{ file.size|file_size }}``: a number of bytes as people read it."""

from django import template
from django.utils.translation import gettext as _

register = template.Library()


@register.filter
def file_size(size: int) -> str:
    """Return the size in KB or MB. chat/static/chat/file_cards.js writes the same."""
    if size < 1024 * 1024:
        return _("%(count)s KB") % {"count": -(-size // 1024)}
    return _("%(count)s MB") % {"count": f"{int(size / 1024 / 1024 * 10 + 0.5) / 10:g}"}
