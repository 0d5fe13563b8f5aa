from django.db import migrations

from taskq.engines import storage


def _apply(apps, schema_editor):
    storage.apply(storage.STORAGE_1, schema_editor)


def _reset(apps, schema_editor):
    storage.reset(storage.STORAGE_1, schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('taskq', '0004_ages'),
    ]

    operations = [
        migrations.RunPython(_apply, _reset, elidable=False),
    ]
