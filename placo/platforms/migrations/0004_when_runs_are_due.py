from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("platforms", "0003_templates_and_ways")]

    operations = [
        migrations.AddField(model_name="run", name="due_at", field=models.DateTimeField(null=True)),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)),
                fields=["due_at"],
                name="runs_with_something_due",
            ),
        ),
        # Runs that are under way: the first worker that looks finds out when.
        migrations.RunSQL(
            "UPDATE platforms_run SET due_at = now() WHERE state IN ('running', 'stuck', 'unwinding')",
            migrations.RunSQL.noop,
        ),
    ]
