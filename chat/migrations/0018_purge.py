from django.db import migrations, models

import chat.models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0017_letters_about_requests'),
    ]

    operations = [
        migrations.CreateModel(
            name='Purge',
            fields=[
                ('id', models.UUIDField(default=chat.models.new_id, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField(unique=True)),
                ('last_at', models.DateTimeField()),
                ('conversations', models.PositiveIntegerField(default=0)),
                ('messages', models.PositiveIntegerField(default=0)),
            ],
            options={
                'default_permissions': ('view',),
            },
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(condition=models.Q(('deleted_at__isnull', False)), fields=['deleted_at'], name='chat_conversation_deleted'),
        ),
    ]
