"""User names compared in any case in every script, also on SQLite."""

from typing import Any

from django.db import migrations

import accounts.models


def fold_names(apps: Any, schema_editor: Any) -> None:
    User = apps.get_model("accounts", "User")
    taken: set[str] = set()
    for user in User.objects.order_by("pk").iterator():
        folded = accounts.models.fold_case(user.username)
        # SQLite allowed two names that differ in the case of letters beyond ASCII. The later user keeps the
        # account, and signs in with the e-mail address until the name is changed: no name has a line break.
        user.folded_name = f"{folded}\n{user.pk}" if folded in taken else folded
        taken.add(folded)
        lower = user.email.lower()
        if lower != user.email and not User.objects.filter(email=lower).exists():
            user.email = lower
        user.save(update_fields=["folded_name", "email"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_labels")]

    operations = [
        migrations.AddField(
            "user", "folded_name", accounts.models.FoldedName(default="", editable=False, max_length=450)
        ),
        migrations.RunPython(fold_names, migrations.RunPython.noop, elidable=True),
        migrations.AlterField(
            "user", "folded_name", accounts.models.FoldedName(editable=False, max_length=450, unique=True)
        ),
        migrations.RemoveConstraint("user", "accounts_user_name"),
    ]
