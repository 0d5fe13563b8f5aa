from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskq', '0002_workflows'),
    ]

    operations = [
        migrations.AddField(
            model_name='message',
            name='promoted',
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
