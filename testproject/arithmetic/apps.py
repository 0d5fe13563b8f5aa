"""The arithmetic app: tasks to try things with."""

from django.apps import AppConfig


class ArithmeticConfig(AppConfig):
    name = "testproject.arithmetic"
