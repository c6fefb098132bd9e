from typing import Any

from django.db import migrations

from chat.migrations import _search_due, _search_index


def forwards(apps: Any, schema_editor: Any) -> None:
    _search_due.list_all(apps, schema_editor)
    if schema_editor.connection.vendor == 'sqlite':
        return _search_index.drop(apps, schema_editor)
    # A server of the version before may run meanwhile, beside PostgreSQL: it writes messages and reads this
    # table. So the table stays for one version, empty.
    for table, *_rest in _search_index.SOURCES:
        for when in ('insert', 'update', 'delete', 'truncate'):
            schema_editor.execute(f'DROP TRIGGER {table}_words_{when} ON {table}')
    schema_editor.execute('TRUNCATE chat_words_entry')


def backwards(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor != 'sqlite':
        for statement in _search_index.POSTGRES_DROP:
            schema_editor.execute(statement)
    _search_index.create(apps, schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0010_search_due'),
    ]

    operations = [
        migrations.RunPython(forwards, backwards),
    ]
