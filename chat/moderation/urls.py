from django.contrib import admin
from django.urls import path

from chat.moderation import (
    audit_page,
    member_pages,
    opening,
    policy,
    searching,
    sign_in_help,
    upkeep,  # noqa: F401  (imported to run as a duty of the server)
)

staff = admin.site.admin_view

urlpatterns = [
    path("admin/open/<str:conversation>/", staff(opening.opening_page), name="open_conversation"),
    path("admin/search/", staff(searching.search_page), name="search_texts"),
    path("admin/audit/", staff(audit_page.audit_page), name="audit"),
    path("admin/audit/export/", staff(audit_page.export_audit), name="export_audit"),
    path("admin/audit/<int:seq>/text/", staff(audit_page.audit_text), name="audit_text"),
    path("admin/policy/", staff(policy.policy_page), name="policy"),
    path("admin/members/<int:member>/sign-in/", staff(sign_in_help.help_page), name="help_to_sign_in"),
    path("accounts/one-time/<str:token>/", sign_in_help.one_time_link, name="one_time_link"),
    path("account/staff-access/", member_pages.staff_access_page, name="staff_access"),
    path("account/what-staff-can-see/", member_pages.rules_page, name="staff_rules"),
    path("chat/<str:conversation>/support/", member_pages.consent_page, name="consent"),
]
