import assert from 'node:assert/strict'
import test from 'node:test'

import { connectedCheckpoint } from '../../web/layerflow/connected_checkpoint.js'

const MODEL = 'LAYERFLOW_MODEL'
const PROMPTS = 'LAYERFLOW_PROMPTS'

/* A graph as LiteGraph has it: nodes by id, and links from an output to an input. */
function makeGraph(nodes, links, asMap = true) {
  const graph = { getNodeById: (id) => made[id] }
  const made = {}
  for (const [id, { type, inputs = [], outputs = [], checkpoint }] of Object.entries(nodes)) {
    made[id] = {
      type,
      graph,
      inputs: inputs.map((kind) => ({ type: kind, link: null })),
      outputs: outputs.map((kind) => ({ type: kind, links: null })),
      widgets:
        checkpoint === undefined
          ? []
          : [
              { name: 'precision', value: 'auto' },
              { name: 'checkpoint', value: checkpoint }
            ]
    }
  }
  const table = new Map()
  links.forEach(([origin, target, slot = 0], index) => {
    table.set(index, { origin_id: origin, target_id: target })
    const output = made[origin].outputs[0]
    output.links = [...(output.links ?? []), index]
    made[target].inputs[slot].link = index
  })
  graph.links = asMap ? table : Object.fromEntries(table)
  return made
}

const prompts = { type: 'LayerPrompts', outputs: [PROMPTS] }
const sampler = { type: 'LayerSampler', inputs: [MODEL, PROMPTS], outputs: ['IMAGE'] }
const speed = { type: 'LayerFlowSpeed', inputs: [MODEL], outputs: [MODEL] }
const reroute = { type: 'Reroute', inputs: ['*'], outputs: ['*'] }
const loader = (checkpoint) => ({ type: 'LoadLayerFlow', outputs: [MODEL], checkpoint })

for (const asMap of [true, false]) {
  test(`directly, links as ${asMap ? 'a map' : 'an object'}`, () => {
    const nodes = makeGraph(
      { p: prompts, s: sampler, l: loader('embedded') },
      [
        ['p', 's', 1],
        ['l', 's', 0]
      ],
      asMap
    )
    assert.equal(connectedCheckpoint(nodes.p), 'embedded')
  })
}

test('through reroutes and other nodes, on both ways', () => {
  const nodes = makeGraph(
    { p: prompts, r: reroute, s: sampler, f: speed, q: reroute, l: loader('a.safetensors') },
    [
      ['p', 'r'],
      ['r', 's', 1],
      ['f', 's', 0],
      ['q', 'f'],
      ['l', 'q']
    ]
  )
  assert.equal(connectedCheckpoint(nodes.p), 'a.safetensors')
})

test('the nearest reader decides, not one behind its layers', () => {
  const next = { type: 'LayerSampler', inputs: [MODEL, PROMPTS, 'IMAGE'], outputs: [] }
  const nodes = makeGraph(
    { p: prompts, s: sampler, n: next, l: loader('near'), m: loader('far') },
    [
      ['p', 's', 1],
      ['l', 's', 0],
      ['s', 'n', 2],
      ['m', 'n', 0]
    ]
  )
  assert.equal(connectedCheckpoint(nodes.p), 'near')
})

test('nothing is connected, or only a part', () => {
  const alone = makeGraph({ p: prompts }, [])
  assert.equal(connectedCheckpoint(alone.p), null)
  const unread = makeGraph({ p: prompts, s: sampler }, [['p', 's', 1]])
  assert.equal(connectedCheckpoint(unread.p), null)
  assert.equal(connectedCheckpoint({ type: 'LayerPrompts', outputs: [] }), null)
})

test('circles and links to nowhere end', () => {
  const nodes = makeGraph({ p: prompts, r: reroute, q: reroute }, [
    ['p', 'r'],
    ['r', 'q'],
    ['q', 'r']
  ])
  nodes.q.outputs[0].links.push(99)
  assert.equal(connectedCheckpoint(nodes.p), null)
})
