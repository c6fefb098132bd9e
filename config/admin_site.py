"""Django's admin site, with its pages in two sections and the instruments among them."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

# The apps whose pages are in the section of accounts.
ACCOUNT_APPS = ("accounts", "auth")
# By the model's name, as the pages are listed; others come last.
ORDER = (
    "Review", "Figures", "Conversation", "Search", "Run", "LiveCall", "Agents", "Instruments", "Process",
    "Suggestion", "Audit", "Rules", "User", "Group",
)  # fmt: skip

OWNER_ONLY = "no permission"  # which only a superuser has


class Site(AdminSite):
    site_header = site_title = "Parley"
    index_title = gettext_lazy("Administration")

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the sections that the user may see, or the one that shows the pages of ``app_label``."""
        apps = self._build_app_dict(request)
        accounts = [model for label in ACCOUNT_APPS for model in apps.pop(label, {"models": []})["models"]]
        if accounts:
            apps["accounts"] = self._section("accounts", _("Accounts"), accounts)
        pages = [
            _page(name, title, route)
            for permission, name, title, route in (
                ("chat.view_run", "Agents", _("Agents"), "agents"),
                ("chat.view_sample", "Instruments", _("Instruments"), "instruments"),
                ("moderation.view_queue", "Review", _("Review queue"), "review_queue"),
                ("moderation.view_queue", "Figures", _("Figures of the queue"), "review_figures"),
                ("moderation.search_text", "Search", _("Search the texts"), "search_texts"),
                ("moderation.view_audit", "Audit", _("Audit"), "audit"),
                (OWNER_ONLY, "Rules", _("Rules"), "policy"),
            )
            if request.user.has_perm(permission)
        ]
        pages += apps.pop("calls", {"models": []})["models"]
        if pages:
            chat = apps.setdefault("chat", self._section("chat", _("Chat"), []))
            chat["models"] += pages
        for section in apps.values():
            section["models"].sort(key=_place)
        wanted = {"calls": "chat", **dict.fromkeys(ACCOUNT_APPS, "accounts")}.get(app_label or "", app_label)
        labels = sorted(apps, key=lambda label: (label != "chat", label))
        return [apps[label] for label in labels if wanted in (None, label)]

    def _section(self, label: str, name: str, models: list[Any]) -> dict[str, Any]:
        address = reverse("admin:app_list", kwargs={"app_label": label}, current_app=self.name)
        return {
            "name": name,
            "app_label": label,
            "app_url": address,
            "has_module_perms": True,
            "models": models,
        }


def _page(name: str, title: str, route: str) -> dict[str, Any]:
    """Return a page that is not a model's, as Django lists models."""
    return {
        "model": None,
        "name": title,
        "object_name": name,
        "perms": {"view": True},
        "admin_url": reverse(route),
        "add_url": None,
        "view_only": True,
    }


def _place(model: dict[str, Any]) -> int:
    name = model["object_name"]
    return ORDER.index(name) if name in ORDER else len(ORDER)
