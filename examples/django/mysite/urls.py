from django.contrib import admin
from django.urls import path

from pages import views

urlpatterns = [
    path("", views.index, name="index"),
    path("upload", views.upload, name="upload"),
    path("numbers", views.numbers, name="numbers"),
    path("private", views.private, name="private"),
    path("admin/", admin.site.urls),
]
