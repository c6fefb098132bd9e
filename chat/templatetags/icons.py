"""Tags ``{% icon "send" %}``, and ``{% sprite %}`` once per page for their drawings."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.pages import icons

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return an icon. Hidden from screen readers: its control needs a label. Unknown names raise KeyError."""
    if name not in icons.NAMES:
        raise KeyError(name)
    return format_html('<svg class="icon" aria-hidden="true"><use href="#i-{}"/></svg>', name)


@register.simple_tag(name="sprite")
def sprite_tag() -> SafeString:
    return icons.sprite()
