

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0021_queuedask_files'),
    ]

    operations = [
        migrations.AlterField(
            model_name='queuedask',
            name='mode',
            field=models.CharField(choices=[('sse', 'SSE'), ('none', 'None'), ('live', 'Live')], default='sse', max_length=8),
        ),
        migrations.AlterField(
            model_name='run',
            name='mode',
            field=models.CharField(choices=[('sse', 'SSE'), ('none', 'None'), ('live', 'Live')], default='sse', max_length=8, verbose_name='mode'),
        ),
    ]
