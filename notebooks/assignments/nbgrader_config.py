"""What nbgrader is told of this folder; its commands are run from here."""

c = get_config()  # put here by nbgrader

c.CourseDirectory.course_id = "gradex"
# Seconds for each cell: with the solutions all take less than three.
c.Execute.timeout = 120
# Downloaded files are named STUDENT_ASSIGNMENT.ipynb, without an underscore in STUDENT.
c.FileNameCollectorPlugin.named_regexp = (
    r"(?:.*/)?(?P<student_id>[^_/]+)_(?P<file_id>[^/]+)"
)
