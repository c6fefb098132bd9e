from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from chat import api
from chat.instruments import page

# Sign in to the admin through allauth, which limits attempts; Django's own form does not.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("admin/instruments/", admin.site.admin_view(page.instruments), name="instruments"),
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.urls")),
    path("api/v1/", api.urls()),
    path("", include("chat.urls")),
]

handler404 = "chat.middleware.page_not_found"
handler500 = "chat.middleware.server_error"
