def validate(request, issued, *, beta=False, counting=False):
    return []
