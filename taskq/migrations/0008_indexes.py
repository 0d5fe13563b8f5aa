from django.db import migrations

from taskq.engines import storage


def _rebuild(apps, schema_editor):
    storage.rebuild(storage.INDEXES_1, schema_editor)


def _rebuild_plain(apps, schema_editor):
    storage.rebuild_plain(storage.INDEXES_1, schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('taskq', '0007_send'),
    ]

    operations = [
        migrations.RunPython(_rebuild, _rebuild_plain, elidable=False),
    ]
