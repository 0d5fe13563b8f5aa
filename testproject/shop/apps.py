"""The shop app: what a shop has done in the background, to have something to look at in the admin."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "testproject.shop"
