from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0017_thrifty_steps"),
    ]

    operations = [
        migrations.AddField(
            model_name="machine",
            name="public_key",
            field=models.TextField(blank=True),
        ),
    ]
