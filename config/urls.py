from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from chat.admin import agents, instruments
from chat.api import views as api

# Sign in to the admin through allauth, which limits attempts; Django's own form does not.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("admin/instruments/", admin.site.admin_view(instruments.instruments), name="instruments"),
    path("admin/agents/", admin.site.admin_view(agents.agents_page), name="agents"),
    path("admin/agents/<str:name>/", admin.site.admin_view(agents.agent_page), name="agent"),
    path("", include("chat.moderation.urls")),
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.urls")),
    path("api/v1/", api.urls()),
    path("", include("chat.urls")),
]

handler404 = "chat.http.middleware.page_not_found"
handler500 = "chat.http.middleware.server_error"
