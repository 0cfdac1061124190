/* Which checkpoint reads the prompts of a node: down its outputs to whatever takes a model, up from there to the loader.
   Pure: it looks at a graph as LiteGraph has it and changes nothing. */

const MODEL = 'LAYERFLOW_MODEL'
const ANY = '*' // reroutes
const LOADER = 'LoadLayerFlow'
const WIDGET = 'checkpoint'

function linkOf(graph, id) {
  return graph.links?.get ? graph.links.get(id) : graph.links?.[id]
}

function readersOf(node) {
  const links = (node.outputs ?? []).flatMap((output) => output.links ?? [])
  return links
    .map((id) => node.graph.getNodeById(linkOf(node.graph, id)?.target_id))
    .filter(Boolean)
}

function originOf(node, input) {
  const link = input.link == null ? undefined : linkOf(node.graph, input.link)
  return link && node.graph.getNodeById(link.origin_id)
}

function modelInputsOf(node) {
  return (node.inputs ?? []).filter((input) => input.type === MODEL)
}

/* The first node that `isFound` says yes to, nearest first; no node is asked twice, so circles end. */
function search(starts, isFound, nextOf) {
  const seen = new Set()
  const queue = [...starts]
  while (queue.length) {
    const node = queue.shift()
    if (!node || seen.has(node)) continue
    seen.add(node)
    if (isFound(node)) return node
    queue.push(...nextOf(node))
  }
  return undefined
}

/* The name in the loader's list, or null where no model is connected. */
export function connectedCheckpoint(node) {
  if (!node.graph) return null
  const sampler = search(readersOf(node), (each) => modelInputsOf(each).length > 0, readersOf)
  if (!sampler) return null
  const sources = modelInputsOf(sampler).map((input) => originOf(sampler, input))
  const above = (each) =>
    (each.inputs ?? [])
      .filter(({ type }) => type === MODEL || type === ANY)
      .map((input) => originOf(each, input))
  const loader = search(sources, (each) => each.type === LOADER, above)
  return loader?.widgets?.find((widget) => widget.name === WIDGET)?.value ?? null
}
