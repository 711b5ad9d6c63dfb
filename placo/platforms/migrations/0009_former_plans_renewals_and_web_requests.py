from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0008_people_and_guests"),
    ]

    operations = [
        migrations.AddField(
            model_name="request",
            name="former_plans",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="platform",
            name="renewed",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="run",
            name="web_request",
            field=models.CharField(blank=True, default="", max_length=64),
            preserve_default=False,
        ),
    ]
