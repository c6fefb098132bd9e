"""Tag ``{% last_purge as purge %}``, for the first page of the admin."""

from django import template

from chat.models import Purge

register = template.Library()


@register.simple_tag
def last_purge() -> Purge | None:
    """Return what was purged on the last day on which a server looked for something due."""
    return Purge.objects.order_by("-day").first()
