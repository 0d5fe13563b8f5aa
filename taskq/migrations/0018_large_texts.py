import taskq.models.fields
from django.db import migrations, models

from taskq.engines import storage


def _create(apps, schema_editor):
    storage.create_triggers(storage.TRIGGERS_1, schema_editor)


def _drop(apps, schema_editor):
    storage.drop_triggers(storage.TRIGGERS_1, schema_editor)
    storage.put_texts_back(schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('taskq', '0017_failures'),
    ]

    operations = [
        migrations.CreateModel(
            name='LargeText',
            fields=[
                ('key', taskq.models.fields.KeyField(max_length=32, primary_key=True, serialize=False)),
                ('content', models.BinaryField()),
            ],
        ),
        migrations.RunPython(_create, _drop, elidable=False),
    ]
