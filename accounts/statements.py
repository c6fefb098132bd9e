"""Queries of the ORM whose SQL is built once.

Django takes 0.2 to 3 ms of CPU to build a statement, and SQLite 0.02 to execute one that uses an index. So
the statements of every request and every run are built at their first use, from sample values, and then
executed with others.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import count
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.models.query import ModelIterable, get_related_populators

SHAPES_MAX = 128  # statements that are kept, one for each length of its lists

# Sample values that no query has by chance, each different.
_numbers = count(2**30 + 7919)
_SAMPLES: dict[type, Callable[[], Any]] = {
    uuid.UUID: uuid.uuid4,
    int: lambda: next(_numbers),
    datetime: lambda: datetime.fromtimestamp(next(_numbers), UTC),
    str: lambda: uuid.uuid4().hex,
}
_FIELDS: dict[type, "models.Field[Any, Any]"] = {
    uuid.UUID: models.UUIDField(),
    int: models.BigIntegerField(),
    datetime: models.DateTimeField(),
    str: models.TextField(),
}


Row = TypeVar("Row")


class Statement(Generic[Row]):
    """A query, such as ``Statement(lambda owner: Conversation.objects.filter(owner=owner))``.

    Its arguments are of the types UUID, int, datetime or str, and may only be compared with columns; a list
    of one type is for ``__in``. The rest of the query, also its order and its limit, must not depend on
    their values. A row is an object of the model, or a tuple if the query is one of ``values_list``.
    """

    def __init__(self, build: "Callable[..., models.QuerySet[Any, Row]]") -> None:
        self._build = build
        self._sql = lru_cache(SHAPES_MAX)(self._compile)

    def all(self, *values: Any) -> list[Row]:
        """Execute the query, and return its rows."""
        if any(isinstance(value, list) and not value for value in values):
            return []  # nothing is in an empty list
        compiled = self._sql(tuple(map(_shape, values)))
        flat = [each for value in values for each in (value if isinstance(value, list) else [value])]
        return compiled.execute([_stored(each) for each in flat])

    def first(self, *values: Any) -> Row | None:
        """Execute the query, and return its first row; None if it has none."""
        return next(iter(self.all(*values)), None)

    def _compile(self, shape: Sequence[tuple[type, int | None]]) -> "_Compiled":
        samples = [
            _SAMPLES[kind]() if length is None else [_SAMPLES[kind]() for _ in range(length)]
            for kind, length in shape
        ]
        return _Compiled.of(self._build(*samples), samples)


def _shape(value: Any) -> tuple[type, int | None]:
    return (type(value[0]), len(value)) if isinstance(value, list) else (type(value), None)


def _stored(value: Any) -> Any:
    return _FIELDS[type(value)].get_db_prep_value(value, connection)


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    parameters: list[Any]  # the query's own values
    places: list[tuple[int, int]]  # of a parameter, and of the argument that takes its place
    compiler: Any
    converters: Any
    model: type[models.Model] | None  # None: rows are tuples
    columns: list[str]  # of the object
    begin: int  # place of its first column
    related: list[Any]  # what fills in related objects
    annotations: list[tuple[str, int]]

    @classmethod
    def of(cls, query: "models.QuerySet[Any, Any]", samples: Sequence[Any]) -> "_Compiled":
        flat = [each for value in samples for each in (value if isinstance(value, list) else [value])]
        compiler = query.query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        arguments = {_stored(sample): number for number, sample in enumerate(flat)}
        places = [
            (place, arguments[parameter])
            for place, parameter in enumerate(parameters)
            if parameter in arguments
        ]
        if {number for _place, number in places} != set(range(len(flat))):
            raise ValueError(f"A value is not a parameter of {sql}")
        # None for a query of values, although Django's compiler has it for those, too
        info: Any = compiler.klass_info if query._iterable_class is ModelIterable else None
        fields = info["select_fields"] if info else [0]
        return cls(
            sql,
            list(parameters),
            places,
            compiler,
            compiler.get_converters([expression for expression, _sql, _alias in compiler.select]),
            info and info["model"],
            [compiler.select[n][0].target.attname for n in fields] if info else [],
            fields[0],
            _related(info, compiler.select) if info else [],
            list(compiler.annotation_col_map.items()) if info else [],
        )

    def execute(self, arguments: Sequence[Any]) -> list[Any]:
        parameters = list(self.parameters)
        for place, number in self.places:
            parameters[place] = arguments[number]
        with connection.cursor() as cursor:
            cursor.execute(self.sql, parameters)
            rows = cursor.fetchall()
        if self.converters:
            rows = self.compiler.apply_converters(rows, self.converters)
        if self.model is None:
            return list(map(tuple, rows))
        return [self._object_of(self.model, row) for row in rows]

    def _object_of(self, model: type[models.Model], row: Sequence[Any]) -> models.Model:
        own = row[self.begin : self.begin + len(self.columns)]
        found = model.from_db(connection.alias, self.columns, own)
        for each in self.related:
            each.populate(row, found)
        for name, place in self.annotations:
            setattr(found, name, row[place])
        return found


def _related(info: Any, select: Any) -> list[Any]:
    # The stubs have an argument of a later Django.
    return get_related_populators(info, select, connection.alias)  # type: ignore[call-arg]


def insert(*objects: models.Model) -> None:
    """Insert new objects of one model, without signals, and without defaults of the database.

    A key that the database counts up stays None.
    """
    if not objects:
        return
    sql, fields = _insertion(type(objects[0]))
    with connection.cursor() as cursor:
        cursor.executemany(
            sql,
            [
                [each.get_db_prep_save(each.pre_save(new, add=True), connection) for each in fields]
                for new in objects
            ],
        )
    for new in objects:
        new._state.adding, new._state.db = False, connection.alias


def update(model: type[models.Model], pk: Any, /, **columns: Any) -> None:
    """Set columns, by their names in the table, of the object with this key."""
    sql, fields = _change(model, tuple(columns))
    values = zip(fields, [*columns.values(), pk], strict=True)
    with connection.cursor() as cursor:
        cursor.execute(sql, [field.get_db_prep_save(value, connection) for field, value in values])


@cache
def _insertion(model: type[models.Model]) -> "tuple[str, list[models.Field[Any, Any]]]":
    fields = [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]
    names = ", ".join(_quoted(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    table = _quoted(model._meta.db_table)
    return f"INSERT INTO {table} ({names}) VALUES ({places})", fields  # noqa: S608  (names of our own)


@cache
def _change(model: type[models.Model], names: Sequence[str]) -> "tuple[str, list[models.Field[Any, Any]]]":
    by_column = {field.column: field for field in model._meta.concrete_fields}
    places = ", ".join(f"{_quoted(name)} = %s" for name in names)
    key = model._meta.pk
    table = _quoted(model._meta.db_table)
    sql = f"UPDATE {table} SET {places} WHERE {_quoted(key.column)} = %s"  # noqa: S608  (names of our own)
    return sql, [*(by_column[name] for name in names), key]


def _quoted(name: str | None) -> str:
    assert name
    return connection.ops.quote_name(name)
