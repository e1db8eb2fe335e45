"""Run as a child by `medssl doctor`: loads Qt and napari, makes an OpenGL context, prints what it found as JSON."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any


def probe() -> dict[str, Any]:
    """Report Qt's binding, platform and version, and who draws OpenGL."""
    import qtpy
    from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
    from qtpy.QtWidgets import QApplication

    application = QApplication([])
    answer: dict[str, Any] = {
        "binding": f"{qtpy.API_NAME} {metadata.version(qtpy.API_NAME)}",
        "qt": f"Qt {qtpy.QT_VERSION}",
        "platform": application.platformName(),
    }
    surface = QOffscreenSurface()
    surface.create()
    context = QOpenGLContext()
    if context.create() and context.makeCurrent(surface):
        from OpenGL import GL  # vispy, and so napari, brings it

        answer["renderer"] = GL.glGetString(GL.GL_RENDERER).decode(errors="replace")
        answer["version"] = GL.glGetString(GL.GL_VERSION).decode(errors="replace").split(" ")[0]
        context.doneCurrent()
    import napari  # noqa: F401 (that it loads is part of the answer)

    return answer


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
