/*
 * The interpreter of the process: its start, its main thread, its end.
 *
 * Python's main thread imports the application, and is then the one that
 * watches: it interrupts requests, looks for changed files, and runs what
 * Python runs at the end.
 */

#include "python.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

gsgi_python_t gsgi_python;

static struct {
    pthread_mutex_t  lock;
    pthread_cond_t   cond;          /* for the main thread */
    pthread_cond_t   answer;        /* of the main thread */
    char            *err;
    size_t           errlen;
    int              rc;
    unsigned         started;       /* rc and err are set */
    unsigned         watch;
    unsigned         stop;
    unsigned         stopped;
    unsigned         interrupts;    /* wanted and not done */
} control = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
    PTHREAD_COND_INITIALIZER, NULL, 0, 0, 0, 0, 0, 0, 0
};

extern char **environ;

/*
 * Extension modules look for the symbols of libpython among the global ones,
 * and it was loaded with a library whose symbols are not.
 */
static int
promote(void)
{
    Dl_info info;

    if (!dladdr((void *) Py_GetVersion, &info) || !info.dli_fname
        || !dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL))
    {
        snprintf(control.err, control.errlen, "libpython: %s", dlerror());
        return -1;
    }

    return 0;
}

static int
fail(PyStatus status)
{
    snprintf(control.err, control.errlen, "Python does not start: %s%s%s",
             status.func ? status.func : "", status.func ? ": " : "",
             status.err_msg ? status.err_msg : "exit");
    return -1;
}

/* UTF-8 whatever the locale is, which is the server's. */
static int
preinitialize(void)
{
    PyPreConfig pre;
    PyStatus status;

    PyPreConfig_InitPythonConfig(&pre);
    pre.parse_argv = 0;
    pre.configure_locale = 0;
    pre.coerce_c_locale = 0;
    pre.coerce_c_locale_warn = 0;
    pre.utf8_mode = 1;

    status = Py_PreInitialize(&pre);

    return PyStatus_Exception(status) ? fail(status) : 0;
}

/* PREFIX/lib/libpython3.so -> PREFIX/bin/python3, 0 if that is not there. */
static int
installed_program(char *path, size_t size)
{
    static const char program[] = "/bin/python3";
    Dl_info info;
    char *slash;
    int i;

    if (!dladdr((void *) Py_GetVersion, &info) || !info.dli_fname
        || strlen(info.dli_fname) + sizeof(program) > size)
    {
        return 0;
    }

    strcpy(path, info.dli_fname);

    for (i = 0; i < 2; i++) {
        slash = strrchr(path, '/');
        if (!slash) {
            return 0;
        }
        *slash = '\0';
    }

    strcat(path, program);

    return access(path, X_OK) == 0;
}

/*
 * A program is how Python finds its own files: that of the virtual
 * environment, or of the installation that libpython is of.
 */
static int
find_program(char *path, size_t size)
{
    const char *home = gsgi_python.conf.home;
    struct stat st;

    if (home[0] == '\0') {
        if (!installed_program(path, size)) {
            snprintf(path, size, "/usr/bin/python3");
        }
        return 0;
    }

    if (stat(home, &st) || !S_ISDIR(st.st_mode)) {
        snprintf(control.err, control.errlen, "--home %s is not a directory",
                 home);
        return -1;
    }

    snprintf(path, size, "%s/bin/python3", home);

    if (access(path, F_OK)) {
        snprintf(control.err, control.errlen, "--home %s has no bin/python3",
                 home);
        return -1;
    }

    return 0;
}

static int
initialize(void)
{
    static char *argv[] = { "gsgi" };
    char program[4096];
    PyConfig config;
    PyStatus status;

    if (find_program(program, sizeof(program))) {
        return -1;
    }

    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    config.install_signal_handlers = 0;
    config.user_site_directory = 0;
    config.pathconfig_warnings = 0;

    status = PyConfig_SetBytesString(&config, &config.program_name, program);

    if (!PyStatus_Exception(status)) {
        status = PyConfig_SetBytesArgv(&config, 1, argv);
    }

    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }

    PyConfig_Clear(&config);

    return PyStatus_Exception(status) ? fail(status) : 0;
}

static int
make_types(void)
{
    gsgi_python.log = gsgi_log_type();
    gsgi_python.input = gsgi_input_type();
    gsgi_python.request = gsgi_request_type();
    gsgi_python.wrapper = gsgi_wrapper_type();

    return gsgi_python.log && gsgi_python.input && gsgi_python.request
        && gsgi_python.wrapper ? 0 : -1;
}

/* gsgi._log(level, text) */
static PyObject *
boot_log(PyObject *self, PyObject *args)
{
    const char *text;
    Py_ssize_t len;
    int level;

    if (!PyArg_ParseTuple(args, "is#", &level, &text, &len)) {
        return NULL;
    }

    gsgi_go_log(gsgi_self ? gsgi_self->job : NULL, level, (char *) text,
                (size_t) len);

    Py_RETURN_NONE;
}

static PyMethodDef boot_log_def = {
    "_log", boot_log, METH_VARARGS, "_log(level, text)"
};

static int
set_stream(const char *name, int level)
{
    char label[32];
    PyObject *log;
    int rc;

    snprintf(label, sizeof(label), "<%s>", name);
    log = gsgi_log_new(NULL, level, strdup(label));
    rc = log ? PySys_SetObject(name, log) : -1;
    Py_XDECREF(log);

    return rc;
}

/* Module gsgi, whose source is Python. */
static int
make_boot(void)
{
    PyObject *dict, *log, *result, *code;

    gsgi_python.boot = PyImport_AddModule("gsgi");
    if (!gsgi_python.boot) {
        return -1;
    }

    Py_INCREF(gsgi_python.boot);
    dict = PyModule_GetDict(gsgi_python.boot);
    log = PyCFunction_New(&boot_log_def, NULL);

    if (!log || PyDict_SetItemString(dict, "_log", log)
        || PyDict_SetItemString(dict, "__builtins__", PyEval_GetBuiltins()))
    {
        Py_XDECREF(log);
        return -1;
    }

    Py_DECREF(log);
    code = Py_CompileString(gsgi_python.conf.boot, "<gsgi>", Py_file_input);
    result = code ? PyEval_EvalCode(code, dict, dict) : NULL;
    Py_XDECREF(code);
    Py_XDECREF(result);

    gsgi_python.timeout = PyDict_GetItemString(dict, "RequestTimeout");
    Py_XINCREF(gsgi_python.timeout);

    return result && gsgi_python.timeout ? 0 : -1;
}

static int
set_paths(void)
{
    PyObject *list = PyList_New(0), *path, *result;
    size_t i;

    for (i = 0; i < gsgi_python.conf.npaths && list; i++) {
        path = PyUnicode_DecodeFSDefault(gsgi_python.conf.paths[i]);
        if (!path || PyList_Append(list, path)) {
            Py_CLEAR(list);
        }
        Py_XDECREF(path);
    }

    result = list ? PyObject_CallMethod(gsgi_python.boot, "_start", "Os",
                                        list, gsgi_python.conf.home) : NULL;
    Py_XDECREF(list);
    Py_XDECREF(result);

    return result ? 0 : -1;
}

/* Imports the application unless it is there.  0, or -1: it is logged. */
int
gsgi_application(void)
{
    PyObject *app;

    if (gsgi_python.app) {
        return 0;
    }

    app = PyObject_CallMethod(gsgi_python.boot, "_load", "si",
                              gsgi_python.conf.spec,
                              gsgi_python.conf.validate);

    if (!app) {
        gsgi_log_exception(NULL);
        return -1;
    }

    if (gsgi_python.app || app == Py_None) {    /* another thread's work */
        Py_DECREF(app);
    } else {
        gsgi_python.app = app;
    }

    return gsgi_python.app ? 0 : -1;
}

static int
begin(void)
{
    static char blind[] = "wsgi: this Python does not show who holds the "
        "interpreter lock, threads take turns less well";

    if (promote()) {
        return -1;
    }

    environ = (char **) gsgi_python.conf.env;

    if (preinitialize()) {
        return -1;
    }

    gsgi_arena_init();
    (void) PyFile_SetOpenCodeHook(gsgi_open_code, NULL);

    if (initialize()) {
        return -1;
    }

    if (!gsgi_gil_init()) {
        gsgi_go_log(NULL, GSGI_LOG_INFO, blind, sizeof(blind) - 1);
    }

    if (make_types() || set_stream("stdout", GSGI_LOG_NOTICE)
        || set_stream("stderr", GSGI_LOG_ERROR) || make_boot()
        || gsgi_environ_init() || gsgi_dump_init())
    {
        snprintf(control.err, control.errlen, "Python does not start");
        PyErr_Print();
        return -1;
    }

    if (set_paths()) {
        gsgi_log_exception(NULL);
        return -1;
    }

    return gsgi_python.conf.lazy ? 0 : gsgi_application();
}

/* Raises in thread t, if it is still at the request. */
static void
interrupt(gsgi_thread_t *t)
{
    uint64_t wanted = __atomic_exchange_n(&t->wanted, 0, __ATOMIC_SEQ_CST);
    PyObject *text;
    const char *p;
    Py_ssize_t len;

    if (!wanted || !t->job || t->job->id + 1 != wanted) {
        return;
    }

    text = PyObject_CallMethod(gsgi_python.boot, "_stack", "k", t->ident);
    p = text ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;

    if (p) {
        gsgi_go_log(t->job && t->job->id + 1 == wanted ? t->job : NULL,
                    GSGI_LOG_WARN, (char *) p, (size_t) len);
    } else {
        PyErr_Clear();
    }

    Py_XDECREF(text);

    if (t->job && t->job->id + 1 == wanted) {
        t->interrupted = 1;
        PyThreadState_SetAsyncExc(t->ident, gsgi_python.timeout);
    }
}

static void
interrupt_all(void)
{
    unsigned i;

    for (i = 0; i < gsgi_python.conf.threads; i++) {
        interrupt(&gsgi_python.threads[i]);
    }

    pthread_mutex_lock(&control.lock);
    control.interrupts = 0;
    pthread_mutex_unlock(&control.lock);
}

static void
look_for_changes(void)
{
    PyObject *name = PyObject_CallMethod(gsgi_python.boot, "_changed", NULL);
    const char *p;
    Py_ssize_t len;

    if (!name) {
        gsgi_log_exception(NULL);
    } else if (name != Py_None) {
        p = PyUnicode_AsUTF8AndSize(name, &len);
        if (p) {
            gsgi_go_changed((char *) p, (size_t) len);
        }
        pthread_mutex_lock(&control.lock);
        control.watch = 0;
        pthread_mutex_unlock(&control.lock);
    }

    Py_XDECREF(name);
}

static void
end(void)
{
    PyObject *done = PyObject_CallMethod(gsgi_python.boot, "_end", NULL);

    if (!done) {
        gsgi_log_exception(NULL);
    }

    Py_XDECREF(done);

    pthread_mutex_lock(&control.lock);
    control.stopped = 1;
    pthread_cond_broadcast(&control.answer);
    pthread_mutex_unlock(&control.lock);
}

/* Waits for something to do, at most a second if files are watched. */
static void
wait_control(void)
{
    struct timespec ts;

    pthread_mutex_lock(&control.lock);

    while (!control.interrupts && (!control.stop || control.stopped)) {
        if (!control.watch) {
            pthread_cond_wait(&control.cond, &control.lock);
            continue;
        }
        clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_sec++;
        if (pthread_cond_timedwait(&control.cond, &control.lock, &ts)
            == ETIMEDOUT)
        {
            break;
        }
    }

    pthread_mutex_unlock(&control.lock);
}

static void
watch(void)
{
    PyThreadState *state;

    for ( ;; ) {
        state = PyEval_SaveThread();
        wait_control();
        PyEval_RestoreThread(state);

        if (control.interrupts) {
            interrupt_all();
        }

        if (control.watch) {
            look_for_changes();
        }

        if (control.stop && !control.stopped) {
            end();
        }
    }
}

static void *
control_main(void *arg)
{
    int rc = begin();

    if (rc == 0 && gsgi_pool_start()) {
        snprintf(control.err, control.errlen, "no threads for Python");
        rc = -1;
    }

    pthread_mutex_lock(&control.lock);
    control.rc = rc;
    control.started = 1;
    pthread_cond_broadcast(&control.answer);
    pthread_mutex_unlock(&control.lock);

    if (Py_IsInitialized()) {
        if (rc) {
            gsgi_python.conf.threads = 0;
        }
        watch();
    }

    return arg;
}

int
gsgi_python_start(const gsgi_python_conf_t *conf, char *err, size_t errlen)
{
    pthread_t thread;

    gsgi_python.conf = *conf;
    control.err = err;
    control.errlen = errlen;
    err[0] = '\0';

    if (pthread_create(&thread, NULL, control_main, NULL)) {
        snprintf(err, errlen, "no thread for Python");
        return -1;
    }

    pthread_detach(thread);
    pthread_mutex_lock(&control.lock);

    while (!control.started) {
        pthread_cond_wait(&control.answer, &control.lock);
    }

    pthread_mutex_unlock(&control.lock);

    return control.rc;
}

int
gsgi_python_stop(unsigned ms)
{
    struct timespec ts;
    int stopped;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += (long) (ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_nsec -= 1000000000;
        ts.tv_sec++;
    }

    pthread_mutex_lock(&control.lock);
    control.stop = 1;
    pthread_cond_signal(&control.cond);

    while (!control.stopped
           && pthread_cond_timedwait(&control.answer, &control.lock, &ts)
              != ETIMEDOUT)
    {
        /* woken for something else */
    }

    stopped = control.stopped != 0;
    pthread_mutex_unlock(&control.lock);

    return stopped;
}

void
gsgi_thread_interrupt(unsigned i, uint64_t id)
{
    __atomic_store_n(&gsgi_python.threads[i].wanted, id + 1,
                     __ATOMIC_SEQ_CST);

    pthread_mutex_lock(&control.lock);
    control.interrupts++;
    pthread_cond_signal(&control.cond);
    pthread_mutex_unlock(&control.lock);
}

unsigned
gsgi_interrupts(void)
{
    unsigned n;

    pthread_mutex_lock(&control.lock);
    n = control.interrupts;
    pthread_mutex_unlock(&control.lock);

    return n;
}

void
gsgi_python_watch(void)
{
    pthread_mutex_lock(&control.lock);
    control.watch = 1;
    pthread_cond_signal(&control.cond);
    pthread_mutex_unlock(&control.lock);
}
