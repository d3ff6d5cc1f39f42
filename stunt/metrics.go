package stunt

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are a hub's figures for Prometheus. No label holds anything that a client can choose.
type metrics struct {
	registry  *prometheus.Registry
	joins     *prometheus.CounterVec
	messages  prometheus.Counter
	bytes     prometheus.Counter
	slow      prometheus.Counter
	silent    prometheus.Counter
	malformed prometheus.Counter
	conns     prometheus.Counter
}

func newMetrics(h *hub) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "stunt", Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string, value func() int) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "stunt", Name: name, Help: help},
			func() float64 {
				h.mu.Lock()
				defer h.mu.Unlock()
				return float64(value())
			}))
	}
	m.joins = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "stunt", Name: "joins_total", Help: "Joins, by result: ok, or why they were refused.",
	}, []string{"result"})
	m.registry.MustRegister(m.joins, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.messages = counter("messages_total", "Messages passed on.")
	m.bytes = counter("message_bytes_total", "Bytes of messages passed on.")
	m.slow = counter("slow_members_total", "Members disconnected because they did not read.")
	m.silent = counter("silent_members_total", "Members disconnected because they did not answer.")
	m.malformed = counter("malformed_messages_total", "Messages that were not understood; their members were sent away.")
	m.conns = counter("refused_connections_total", "Connections closed because their network had too many.")
	gauge("rooms", "Rooms.", func() int { return len(h.rooms) })
	gauge("members", "Members in rooms.", func() int { return h.members })
	gauge("meetings", "Rooms with two members.", func() int { return h.meeting })
	gauge("networks", "Networks that are remembered.", func() int { return len(h.networks.all) })
	gauge("waiting_bytes", "Bytes that wait for members to read them.", func() int { return h.waiting })
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
