import hashlib
import logging

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from .models import Note

log = logging.getLogger(__name__)


def index(request):
    return render(request, "index.html", {"notes": Note.objects.all()})


# csrf_exempt, so that curl can try it.
@csrf_exempt
def upload(request):
    """Hashes a file that comes by a form."""
    digest, size = hashlib.sha256(), 0
    for chunk in request.FILES["file"].chunks():
        digest.update(chunk)
        size += len(chunk)
    log.info("an upload of %d bytes", size)
    return HttpResponse("%d %s\n" % (size, digest.hexdigest()),
                        content_type="text/plain")


def numbers(request):
    """A response that is never whole in memory."""
    count = min(int(request.GET.get("count", 1000)), 10000000)
    return StreamingHttpResponse(("%d\n" % i for i in range(count)),
                                 content_type="text/plain")


@login_required
def private(request):
    return HttpResponse("only for %s\n" % request.user.get_username(),
                        content_type="text/plain")
