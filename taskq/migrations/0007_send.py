from django.db import migrations

from taskq.engines import functions


def _install(apps, schema_editor):
    functions.install("taskq_send_2", schema_editor)


def _remove(apps, schema_editor):
    functions.remove("taskq_send_2", schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('taskq', '0006_revocations'),
    ]

    operations = [
        migrations.RunPython(_install, _remove, elidable=False),
    ]
