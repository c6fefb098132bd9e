"""``{% icon "send" %}``, and ``{% sprite %}`` once a page for what they point at."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.pages import icons

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A decoration: its control says in words what it does. A name that is not drawn is a KeyError."""
    if name not in icons.NAMES:
        raise KeyError(name)
    return format_html('<svg class="icon" aria-hidden="true"><use href="#i-{}"/></svg>', name)


@register.simple_tag
def sprite() -> SafeString:
    return icons.sprite()
