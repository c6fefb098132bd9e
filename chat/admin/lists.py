"""Lists of long tables: a page reads at most LIST_BOUND rows."""

from datetime import UTC, datetime
from typing import Any

from django.contrib.admin import DateFieldListFilter, ModelAdmin, ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

# Fifty pages: an offset into a million rows, or a count of them, takes seconds. Older rows are found by date,
# filter or search.
LIST_BOUND = 2_500
PER_PAGE = 50
DATE_ENDS = ("gte", "lt")


def moment(at: datetime) -> str:
    """Return the time with its zone, in the zone of the reader."""
    # Django formats a datetime of a method in lists, but not on the page of an object.
    return date_format(localtime(at), "DATETIME_FORMAT")


class BoundedChangeList(ChangeList):
    """List of the newest LIST_BOUND matching rows. Sorting by another column sorts only these."""

    def get_filters(self, request: HttpRequest) -> Any:
        if any("\x00" in value for values in self.get_filters_params().values() for value in values):
            raise IncorrectLookupParameters("NUL is in no column")  # PostgreSQL refuses NUL in a query
        try:
            return super().get_filters(request)
        except (ValueError, OverflowError) as error:  # an impossible date
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


class DateFilter(DateFieldListFilter):
    """Django's choices of a date, and a form for any other days."""

    # Not date_hierarchy, which reads every row to find the years: docs/decisions/0030.
    template = "admin/chat/date_filter.html"

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(field, request, *args, **kwargs)
        self.title = _("date")
        # A day is its midnight in UTC. ValueError and OverflowError: get_filters refuses the request.
        given = {name: values[-1] for name, values in self.used_parameters.items() if values[-1]}  # type: ignore[index]
        limits = {name: datetime.fromisoformat(text).astimezone(UTC) for name, text in given.items()}
        self.used_parameters = {name: [moment] for name, moment in limits.items()}
        self.since, self.until = (limits.get(f"{self.field_path}__{end}") for end in DATE_ENDS)
        dropped = {*self.expected_parameters(), PAGE_VAR}
        self.kept = [pair for pair in request.GET.items() if pair[0] not in dropped]


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[type-arg]
    """Admin of a model that staff may view with the permission, and no one may change, not even the owner."""

    actions = None
    list_per_page = PER_PAGE
    list_max_show_all = PER_PAGE
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each one counts all rows
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
        filters = self.get_list_filter(request)
        names = {getattr(each, "parameter_name", None) for each in filters}
        dates = {f"{each[0]}__{end}" for each in filters if isinstance(each, tuple) for end in DATE_ENDS}
        return lookup in names | dates | set(self.linked_lookups)
