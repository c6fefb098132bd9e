from django.contrib import admin
from django.urls import path

from chat.moderation import (
    api,  # noqa: F401  (imported to add its operations, before config/urls.py makes routes of them)
    audit_page,
    deciding,
    figures,
    letters,  # noqa: F401  (imported to run as a duty of the server)
    member_pages,
    opening,
    policy,
    queue_page,
    report_pages,
    review_page,
    searching,
    sign_in_help,
    upkeep,  # noqa: F401  (imported to run as a duty of the server)
    watching,
)

staff = admin.site.admin_view

urlpatterns = [
    path("admin/open/<str:conversation>/", staff(opening.opening_page), name="open_conversation"),
    path(
        "admin/open/<str:conversation>/files/<str:file>/<path:name>",
        staff(opening.transcript_file),
        name="transcript_file",
    ),
    path("admin/search/", staff(searching.search_page), name="search_texts"),
    path("admin/audit/", staff(audit_page.audit_page), name="audit"),
    path("admin/audit/export/", staff(audit_page.export_audit), name="export_audit"),
    path("admin/audit/<int:seq>/text/", staff(audit_page.audit_text), name="audit_text"),
    path("admin/policy/", staff(policy.policy_page), name="policy"),
    path("admin/moderation/figures/", staff(figures.figures_page), name="review_figures"),
    path(
        "admin/moderation/figures/export/",
        staff(figures.export_figures),
        name="export_review_figures",
    ),
    path("admin/watch/<str:run>/", staff(watching.watch_page), name="watch"),
    path("admin/watch/<str:run>/events", watching.watch_events, name="watch_events"),
    path("admin/moderation/", staff(queue_page.queue_page), name="review_queue"),
    path("admin/moderation/<str:item>/", staff(review_page.item_page), name="review_item"),
    path("admin/decide/<str:conversation>/", staff(deciding.conversation_page), name="decide_conversation"),
    path("admin/members/<int:member>/decide/", staff(deciding.member_page), name="decide_member"),
    path("admin/members/<int:member>/sign-in/", staff(sign_in_help.help_page), name="help_to_sign_in"),
    path("accounts/one-time/<str:token>/", sign_in_help.one_time_link, name="one_time_link"),
    path("account/staff-access/", member_pages.staff_access_page, name="staff_access"),
    path("account/what-staff-can-see/", member_pages.rules_page, name="staff_rules"),
    path("account/reports/", report_pages.reports_page, name="reports"),
    path("account/decisions/", report_pages.decisions_page, name="decisions"),
    path("account/decisions/<str:decision>/appeal/", report_pages.appeal_by_form, name="appeal"),
    path(
        "account/decisions/<str:decision>/acknowledge/", report_pages.acknowledge_by_form, name="acknowledge"
    ),
    path("chat/<str:conversation>/support/", member_pages.consent_page, name="consent"),
    path("chat/<str:conversation>/<str:message>/report/", report_pages.report_page, name="report"),
]
