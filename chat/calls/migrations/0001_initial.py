

import chat.models
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('chat', '0022_live'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='LiveCall',
            fields=[
                ('id', models.UUIDField(default=chat.models.new_id, editable=False, primary_key=True, serialize=False)),
                ('epoch', models.PositiveIntegerField(default=1)),
                ('handle', models.TextField(editable=False, null=True)),
                ('handle_at', models.DateTimeField(null=True)),
                ('opened_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('seen_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('lost_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('end_code', models.CharField(blank=True, max_length=32)),
                ('seconds_in', models.FloatField(default=0)),
                ('seconds_out', models.FloatField(default=0)),
                ('turns', models.PositiveIntegerField(default=0)),
                ('conversation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='chat.conversation')),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('process', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='chat.process')),
            ],
            options={
                'verbose_name': 'call',
                'verbose_name_plural': 'calls',
                'default_permissions': (),
                'indexes': [models.Index(fields=['owner', '-opened_at'], name='calls_of_owner'), models.Index(fields=['-opened_at', '-id'], name='calls_newest')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('conversation',), name='calls_open_in_conversation'), models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('owner',), name='calls_open_of_owner'), models.CheckConstraint(condition=models.Q(('ended_at', None), ('ended_at__gte', models.F('opened_at')), _connector='OR'), name='calls_end_after'), models.CheckConstraint(condition=models.Q(('ended_at', None), ('handle', None), _connector='OR'), name='calls_ended_without_handle')],
            },
        ),
    ]
