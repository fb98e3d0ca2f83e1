package wsgi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A chromium is a browser without a window, driven by the DevTools protocol
// through two pipes.
type chromium struct {
	t       *testing.T
	out     *os.File
	in      *bufio.Reader
	last    int
	session string // of its page
}

func startChromium(t *testing.T) *chromium {
	t.Helper()
	commands, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{commands, answers} // 3 and 4
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	answers.Close()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		out.Close()
		in.Close()
	})
	_ = in.SetReadDeadline(time.Now().Add(2 * time.Minute))
	c := &chromium{t: t, out: out, in: bufio.NewReader(in)}
	target := c.call("Target.createTarget", map[string]any{"url": "about:blank"})
	c.session, _ = c.call("Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})["sessionId"].(string)
	return c
}

// call waits for the answer to a command; what comes in between is not looked
// at.
func (c *chromium) call(method string, params map[string]any) map[string]any {
	c.t.Helper()
	c.last++
	command := map[string]any{"id": c.last, "method": method, "params": params}
	if c.session != "" {
		command["sessionId"] = c.session
	}
	text, err := json.Marshal(command)
	if err == nil {
		_, err = c.out.Write(append(text, 0))
	}
	for err == nil {
		var answer struct {
			ID     int
			Result map[string]any
		}
		if text, err = c.in.ReadBytes(0); err == nil {
			err = json.Unmarshal(text[:len(text)-1], &answer)
		}
		if err == nil && answer.ID == c.last {
			return answer.Result
		}
	}
	c.t.Fatalf("chromium, %s: %v", method, err)
	return nil
}

// value is what an expression of JavaScript has, or nil while there is no page.
func (c *chromium) value(expression string) any {
	c.t.Helper()
	result := c.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true})
	if result["exceptionDetails"] != nil {
		return nil
	}
	object, _ := result["result"].(map[string]any)
	return object["value"]
}

// until waits for a page on which an expression is true.
func (c *chromium) until(expression string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); c.value("document.readyState == 'complete' && !!("+expression+")") != true; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s is not so at %v:\n%.2000v", expression, c.value("location.href"), c.value("document.body.innerText"))
		}
	}
}

// fill types into the fields of a form, and presses its button.
func (c *chromium) fill(button string, fields ...string) {
	c.t.Helper()
	c.until("document.querySelector(" + quote(button) + ")")
	for i := 0; i < len(fields); i += 2 {
		c.value("document.querySelector(" + quote(fields[i]) + ").focus()")
		c.call("Input.insertText", map[string]any{"text": fields[i+1]})
	}
	c.value("document.querySelector(" + quote(button) + ").click()")
}

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// TestBrowser: a person's way through Django's admin.
func TestBrowser(t *testing.T) {
	eachDjango(t, func(t *testing.T, s *server) {
		c := startChromium(t)
		c.call("Page.navigate", map[string]any{"url": "http://" + s.addr + "/admin/"})
		c.fill("#login-form [type=submit]", "#id_username", "ann", "#id_password", "a wrong password")
		c.until("document.querySelector('.errornote')")
		c.value("document.querySelector('#id_username').value = ''")
		c.fill("#login-form [type=submit]", "#id_username", "ann", "#id_password", "a-long-password")
		c.until("document.title.startsWith('Site administration')")
		if color := fmt.Sprint(c.value("getComputedStyle(document.querySelector('#header')).backgroundColor")); !strings.HasPrefix(color, "rgb(") {
			t.Errorf("the page has no style: the header is %s", color)
		}
		c.value("document.querySelector('.model-note .addlink').click()")
		c.fill("[name=_save]", "[name=text]", "typed in a browser \u2603")
		c.until("document.querySelector('.messagelist .success')")
		c.until("document.querySelector('#result_list').innerText.includes('typed in a browser \u2603')")
		c.call("Page.navigate", map[string]any{"url": "http://" + s.addr + "/"})
		c.until("document.body.innerText.includes('typed in a browser \u2603')")
		c.call("Page.navigate", map[string]any{"url": "http://" + s.addr + "/admin/"})
		c.fill("#logout-form button, #user-tools a[href$='/logout/']")
		c.until("location.pathname == '/admin/logout/'")
		c.call("Page.navigate", map[string]any{"url": "http://" + s.addr + "/admin/"})
		c.until("document.querySelector('#login-form')")
	})
}
