// Package oss is the plugin for Aliyun OSS: sink "oss" stores files as objects that are written once.
//
// The vendor's client (aliyun-oss-go-sdk 3.0.2) never retries: its RetryTimes is set and never read. That suits the engine, whose
// retries these are; every method here makes one attempt and says what its failure means. The client also reports a wrong CRC-64
// only after the object was stored, and WORM buckets answer a redelivery with 409; package object tells what is done about both.
package oss

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// Plugin declares what this plugin offers.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "oss", Version: "0.1.0",
		Connections: []sdk.Connection{{Type: "oss", Doc: "A bucket of Aliyun OSS.", Args: connectionArgs()}},
		Components: []sdk.Component{{
			Kind: sdk.KindSink, Type: "oss", Connection: "oss",
			Doc: "Stores files as objects that are written once. Equal bytes again are a success, other bytes go to …-v2; " +
				"checksums are verified on the way in.",
			Args: object.StepArgs(false), Receipt: object.ReceiptFields(),
			FilesOnly: true, Probes: true,
			NewSink: func() sdk.Sink { return &object.Sink{Connect: connect} },
		}},
	}
}

func connectionArgs() []sdk.Arg {
	return []sdk.Arg{
		{Name: "endpoint", Type: sdk.String, Required: true, Doc: "URL of the region's endpoint, without the bucket."},
		{Name: "region", Type: sdk.String, Doc: "Region such as cn-hangzhou; V4 signatures need it."},
		{Name: "bucket", Type: sdk.String, Required: true, Doc: "Name of the bucket."},
		{Name: "access_key_id", Type: sdk.String, Required: true, Doc: "AccessKey ID of a RAM user that may get, put and delete objects and list and abort multipart uploads."},
		{Name: "access_key_secret", Type: sdk.String, Required: true, Secret: true, Doc: "AccessKey secret."},
		{Name: "security_token", Type: sdk.String, Secret: true, Doc: "STS token, for temporary credentials."},
		{Name: "signature", Type: sdk.String, Default: "v4", OneOf: []string{"v1", "v4"}, Doc: "Version of the request signature."},
		{Name: "proxy", Type: sdk.String, Doc: "URL of an HTTP proxy, with user and password if need be."},
		{Name: "ca", Type: sdk.String, Doc: "Certificates to trust instead of the system's: PEM, or the path of a PEM file."},
		{Name: "silence", Type: sdk.Dur, Default: "60s", Doc: "Longest time in which no byte moves."},
	}
}

type connection struct {
	Endpoint        string       `json:"endpoint"`
	Region          string       `json:"region"`
	Bucket          string       `json:"bucket"`
	AccessKeyID     sdk.Secret   `json:"access_key_id"`
	AccessKeySecret sdk.Secret   `json:"access_key_secret"`
	SecurityToken   sdk.Secret   `json:"security_token"`
	Signature       string       `json:"signature"`
	Proxy           sdk.Secret   `json:"proxy"`
	CA              sdk.Secret   `json:"ca"`
	Silence         sdk.Duration `json:"silence"`
}

func connect(env *sdk.Env, _ object.Step) (object.Store, error) {
	c := connection{Signature: "v4"}
	if err := env.DecodeConnection(&c); err != nil {
		return nil, err
	}
	web, err := object.Transport{Proxy: c.Proxy, CA: c.CA, Silence: c.Silence.Std()}.Client()
	if err != nil {
		return nil, err
	}
	options := []oss.ClientOption{oss.HTTPClient(web), oss.SecurityToken(c.SecurityToken.Reveal())}
	if c.Signature == "v4" {
		if c.Region == "" {
			return nil, errors.New("connection: a v4 signature needs region")
		}
		options = append(options, oss.AuthVersion(oss.AuthV4), oss.Region(c.Region))
	}
	client, err := oss.New(c.Endpoint, c.AccessKeyID.Reveal(), c.AccessKeySecret.Reveal(), options...)
	if err != nil {
		return nil, fmt.Errorf("connection: endpoint: %w", err)
	}
	bucket, err := client.Bucket(c.Bucket)
	if err != nil {
		return nil, fmt.Errorf("connection: bucket: %w", err)
	}
	base, err := baseURL(c.Endpoint, c.Bucket)
	if err != nil {
		return nil, err
	}
	return &store{bucket: bucket, base: base, clock: env.Clock}, nil
}

// baseURL is what the URLs of a bucket's objects begin with: https://BUCKET.HOST, or https://HOST/BUCKET where the host is an IP
// address, as the vendor's client addresses them.
func baseURL(endpoint, bucket string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("connection: endpoint is not a URL such as https://oss-cn-hangzhou.aliyuncs.com")
	}
	base := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}
	if net.ParseIP(u.Hostname()) != nil {
		base.Path = "/" + bucket + "/"
	} else {
		base.Host = bucket + "." + u.Host
	}
	return base, nil
}
