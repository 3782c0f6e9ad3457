package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weir-etl/weir/engine/internal/state"
)

// ErrNotRunning is Dial's answer where no engine listens.
var ErrNotRunning = errors.New("no engine runs here")

// Client talks to a running engine. Its methods are those of [Idle].
type Client struct{ http *http.Client }

// Dial reaches the engine that runs in a data directory, or answers ErrNotRunning.
func Dial(dir string) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = reach(dir, func(path string) error {
			var d net.Dialer
			conn, err = d.DialContext(ctx, "unix", path)
			return err
		})
		return conn, err
	}
	conn, err := dial(context.Background(), "", "")
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("data directory %s: %w", dir, os.ErrPermission)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNotRunning, dir)
	}
	conn.Close()
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}}, nil
}

// Close drops the connection.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status looks at the run.
func (c *Client) Status() (Status, error) { return call[Status](c, "GET", "status", nil, nil) }

// Entries lists what is picked. ErrNoStep says that the pipeline has no such step.
func (c *Client) Entries(p Pick) (Listing, error) {
	return call[Listing](c, "GET", "owed", p.values(), nil)
}

// Retry makes owed entries due now and replays dead letters. What is on its way at the moment stays as it is.
func (c *Client) Retry(p Pick) (Effect, error) {
	return call[Effect](c, "POST", "retry", p.values(), nil)
}

// Drop forgets what is picked: it will not be delivered. What is on its way at the moment stays as it is.
func (c *Client) Drop(p Pick, a state.Audit) (Effect, error) {
	query := p.values()
	query.Set("who", a.Who)
	query.Set("what", a.What)
	return call[Effect](c, "POST", "drop", query, nil)
}

// State describes the state.
func (c *Client) State() (StateInfo, error) { return call[StateInfo](c, "GET", "state", nil, nil) }

// Since compares a pipeline with the state.
func (c *Client) Since(o Outline) (Since, error) { return call[Since](c, "POST", "since", nil, o) }

func (p *Pick) values() url.Values {
	return url.Values{"dead": {strconv.FormatBool(p.Dead)}, "step": {p.Step}, "id": {p.ID}, "body": {strconv.FormatBool(p.Body)}, "limit": {strconv.Itoa(p.Limit)}}
}

func call[T any](c *Client, method, path string, query url.Values, body any) (T, error) {
	var answer T
	sent, err := json.Marshal(body)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequest(method, "http://weir/"+path+"?"+query.Encode(), bytes.NewReader(sent))
	if err != nil {
		return answer, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer, fmt.Errorf("ask the running engine: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		err = json.NewDecoder(resp.Body).Decode(&answer)
		return answer, err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return answer, err
	}
	problem := strings.TrimSpace(string(text))
	if resp.StatusCode == http.StatusNotFound {
		return answer, fmt.Errorf("%w%s", ErrNoStep, strings.TrimPrefix(problem, ErrNoStep.Error()))
	}
	return answer, errors.New(problem)
}
