"""Tag ``{% include_fixed "chat/_dialogs.html" %}``: an include that is rendered once for each language."""

from collections.abc import Hashable
from functools import lru_cache

from django import template
from django.conf import settings
from django.template.loader import get_template
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

register = template.Library()


@register.simple_tag
def include_fixed(name: str, **values: Hashable) -> SafeString:
    """Return the template with only these variables. Those of a page took 3 ms of CPU at each request."""
    if settings.DEBUG:  # it may be edited
        _rendered.cache_clear()
    return _rendered(name, get_language(), tuple(values.items()))


@lru_cache
def _rendered(name: str, language: str | None, values: tuple[tuple[str, Hashable], ...]) -> SafeString:
    return mark_safe(get_template(name).render(dict(values)))  # noqa: S308  (a template)
