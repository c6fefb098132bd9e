"""Lists of long tables: a page reads at most LIST_BOUND rows."""

import calendar
from datetime import date, datetime
from typing import Any

from django.contrib.admin import ModelAdmin, ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

# Fifty pages: an offset into a million rows, or a count of them, takes seconds. Older rows are found by date,
# filter or search.
LIST_BOUND = 2_500
PER_PAGE = 50
SEARCH_MAX = 200


class BoundedChangeList(ChangeList):
    """List of the newest LIST_BOUND matching rows. Sorting by another column sorts only these."""

    def get_filters(self, request: HttpRequest) -> Any:
        parts = {part for part in ("year", "month", "day") if f"{self.date_hierarchy}__{part}" in self.params}
        if any("\x00" in value for values in self.get_filters_params().values() for value in values):
            raise IncorrectLookupParameters("NUL is in no column")  # PostgreSQL refuses NUL in a query
        if parts not in ({"year", "month", "day"}, {"year", "month"}, {"year"}, set()):
            raise IncorrectLookupParameters(f"{parts} is no date")  # a month of every year reads every row
        try:
            return super().get_filters(request)
        except (ValueError, OverflowError) as error:  # Django adds a year to 9999
            raise IncorrectLookupParameters(error) from error

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found = super().get_queryset(request, exclude_parameters)
        newest_first = self.model_admin.get_ordering(request)
        ordering = found.query.order_by
        if tuple(ordering) == tuple(newest_first):
            return found[:LIST_BOUND]
        # A list of keys, not a subquery: SQLite would scan the whole table for each key of the subquery.
        newest = list(found.order_by(*newest_first).values_list("pk", flat=True)[:LIST_BOUND])
        return self.apply_select_related(self.root_queryset.filter(pk__in=newest)).order_by(*ordering)

    @property
    def is_cut_off(self) -> bool:
        return self.result_count >= LIST_BOUND

    def hierarchy(self) -> dict[str, Any]:
        """Return all years, months or days between the oldest and the newest row, to choose from."""
        # Django's own tag offers only dates that have rows, for which it reads every row.
        ends = self._ends()
        if ends is None or self.date_hierarchy is None:
            return {"show": False}
        first, last = ends
        year, month, day = (self._chosen(part) for part in ("year", "month", "day"))
        if year is None and first.year == last.year:
            year = first.year
        if year is None:
            return self._choices(
                None, [self._choice(str(n), year=n) for n in range(first.year, last.year + 1)]
            )
        if month is None:
            months = [date(year, n, 1) for n in range(1, 13)]
            shown = [m for m in months if first.replace(day=1) <= m <= last]
            back = self._choice(_("All dates"))
            return self._choices(back, [self._choice(_month(m), year=year, month=m.month) for m in shown])
        if day is None:
            days = [date(year, month, n + 1) for n in range(calendar.monthrange(year, month)[1])]
            shown = [d for d in days if first <= d <= last]
            back = self._choice(str(year), year=year)
            return self._choices(
                back, [self._choice(_day(d), year=year, month=month, day=d.day) for d in shown]
            )
        chosen = date(year, month, day)
        return self._choices(self._choice(_month(chosen), year=year, month=month), [{"title": _day(chosen)}])

    def _ends(self) -> tuple[date, date] | None:
        """Return the dates of the oldest and the newest row, each by one step into the index."""
        found = self.root_queryset.values_list(self.date_hierarchy, flat=True)
        first = found.order_by(self.date_hierarchy).first()
        last = found.order_by(f"-{self.date_hierarchy}").first()
        return (_local(first), _local(last)) if first and last else None

    def _chosen(self, part: str) -> int | None:
        value = self.params.get(f"{self.date_hierarchy}__{part}")
        return int(value) if value else None

    def _choice(self, title: str, **parts: int) -> dict[str, Any]:
        chosen = {f"{self.date_hierarchy}__{part}": value for part, value in parts.items()}
        return {"title": title, "link": self.get_query_string(chosen, [f"{self.date_hierarchy}__"])}

    @staticmethod
    def _choices(back: dict[str, Any] | None, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"show": True, "back": back, "choices": choices}


def _local(moment: datetime) -> date:
    return timezone.localtime(moment).date()


def _month(day: date) -> str:
    return capfirst(formats.date_format(day, "YEAR_MONTH_FORMAT"))


def _day(day: date) -> str:
    return capfirst(formats.date_format(day, "MONTH_DAY_FORMAT"))


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[type-arg]
    """Admin of a model that staff may view with the permission, and no one may change, not even the owner."""

    actions = None
    list_per_page = PER_PAGE
    list_max_show_all = PER_PAGE
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each one counts all rows
    change_list_template = "admin/chat/change_list.html"
    # Lookups in links to the list, beside those of its filters.
    linked_lookups: tuple[str, ...] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Check the permission, then show the history."""
        # Django looks for the object first, and reveals so whether it exists.
        if not self.has_view_permission(request):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Return whether a filter or a link of the page uses the lookup."""
        # With any other lookup, the values of all columns could be guessed letter by letter.
        dates = {f"{self.date_hierarchy}__{part}" for part in ("year", "month", "day")}
        filters = {getattr(each, "parameter_name", None) for each in self.get_list_filter(request)}
        return lookup in dates | filters | set(self.linked_lookups)
