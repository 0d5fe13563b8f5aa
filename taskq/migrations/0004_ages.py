from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskq', '0003_promoted'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='taskrun',
            index=models.Index(fields=['state', 'finished_at'], name='taskq_run_by_age'),
        ),
        migrations.AddIndex(
            model_name='attempt',
            index=models.Index(fields=['finished_at'], name='taskq_attempt_by_age'),
        ),
        migrations.AddIndex(
            model_name='group',
            index=models.Index(fields=['created_at'], name='taskq_group_by_age'),
        ),
        migrations.AddIndex(
            model_name='node',
            index=models.Index(fields=['created_at'], name='taskq_node_by_age'),
        ),
    ]
