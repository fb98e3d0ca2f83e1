package wsgi

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseArgs(t *testing.T) {
	got, err := ParseArgs(strings.Fields("mysite.wsgi:application --chdir /srv/site --path /a --path=/b --home /srv/venv " +
		"--threads 8 --env A=1 --env B=x=y --reload --check=false --preload=false --validate --bind :9000"))
	if err != nil {
		t.Fatal(err)
	}
	want := Options{
		App: "mysite.wsgi:application", Dir: "/srv/site", Path: []string{"/a", "/b"}, Home: "/srv/venv", Threads: 8,
		Env: []string{"A=1", "B=x=y"}, Lazy: true, Unchecked: true, Reload: true, Validate: true, Bind: ":9000",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not %+v", got, want)
	}
	got, err = ParseArgs([]string{"--lazy", "app"})
	if err != nil || got.App != "app" || !got.Lazy || got.Threads != defaultThreads || got.Bind == "" {
		t.Errorf("%+v, %v", got, err)
	}
	paths, err := (&Options{Path: []string{"/x", "/y"}, Dir: "/z"}).sysPath()
	if err != nil || strings.Join(paths, ":") != "/x:/y:/z" {
		t.Errorf("%v, %v", paths, err)
	}
}

func TestParseArgsWrong(t *testing.T) {
	for args, says := range map[string]string{
		"":                       "no application is named",
		"a b":                    "two applications",
		"a --threads 0x":         "invalid value",
		"a --threads -3":         "-3 threads",
		"a --threads 100000":     "100000 threads",
		"a --nosuch":             "the options are --chdir",
		"a --env X":              `"X" is not NAME=VALUE`,
		"a --env =x":             `"=x" is not NAME=VALUE`,
		"a --chdir x\x00y":       "has a NUL",
		"a --reload=perhaps":     "invalid boolean",
		"--chdir /srv --threads": "flag needs an argument",
	} {
		if _, err := ParseArgs(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, not %q", args, err, says)
		}
	}
}
