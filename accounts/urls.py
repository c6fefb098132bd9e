from django.urls import include, path

from accounts import views

urlpatterns = [
    path("set-up/<str:token>/", views.set_up, name="set_up"),
    path("email/", views.email, name="account_email"),
    path("", include("allauth.account.urls")),
]
