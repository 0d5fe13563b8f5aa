from django.db import migrations

from taskq.engines import storage


def _create(apps, schema_editor):
    storage.create_triggers(storage.TRIGGERS_2, schema_editor)
    storage.compress(storage.COMPRESSED_1, 'lz4', schema_editor)


def _drop(apps, schema_editor):
    storage.drop_triggers(storage.TRIGGERS_2, schema_editor)
    storage.put_more_texts_back(schema_editor)
    storage.compress(storage.COMPRESSED_1, 'default', schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('taskq', '0018_large_texts'),
    ]

    operations = [
        migrations.RunPython(_create, _drop, elidable=False),
    ]
